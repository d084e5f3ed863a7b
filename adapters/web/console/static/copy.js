// Buttons that copy: `data-copy` is a text, or #id of the element whose text it is. Without scripts they don't show.
"use strict";

const COPIED_MS = 1500;

document.documentElement.classList.add("can-copy");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const what = button.dataset.copy;
  const source = what.startsWith("#") ? document.querySelector(what) : null;
  await copy(source ? source.textContent : what);
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), COPIED_MS);
  const status = document.getElementById("copied-status");
  if (status) status.textContent = `Copied: ${button.getAttribute("aria-label").replace("Copy ", "")}`;
});

// Over plain HTTP from another machine there is no clipboard but this.
async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // not allowed: as where there is none
    }
  }
  document.addEventListener(
    "copy",
    (event) => {
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
    },
    { once: true },
  );
  document.execCommand("copy");
}
