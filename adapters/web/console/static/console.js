// The console works without this file: it only makes pages live, and adds keys.
"use strict";

const EVERY_MS = 3000; // unless a part says that it is in more of a hurry: data-live="1000"
const KEY_MS = 1500;

// Live parts: elements with data-live and an id are taken anew from the same page. A part that somebody is using keeps
// its focus; a form is never touched.
async function refresh() {
  if (document.hidden) return;
  const status = document.getElementById("live-status");
  try {
    const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, redirect: "error" });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh) continue;
      keepOpen(old, fresh);
      if (fresh.isEqualNode(old)) continue;
      const place = focusables(old).indexOf(document.activeElement);
      old.replaceWith(fresh);
      if (place >= 0) focusables(fresh)[place]?.focus();
    }
    if (status) status.textContent = "";
  } catch {
    if (status) status.textContent = "Not live just now: the service can't be reached. Trying again.";
  }
}

// What somebody has opened stays open, and what they have closed stays closed.
function keepOpen(old, fresh) {
  for (const part of fresh.querySelectorAll("details[id]")) {
    const before = old.querySelector(`#${CSS.escape(part.id)}`);
    if (before) part.open = before.open;
  }
}

function focusables(element) {
  return [...element.querySelectorAll("a[href], button, input, select, textarea, summary")];
}

async function stayLive() {
  await refresh();
  setTimeout(stayLive, everyMs());
}

function everyMs() {
  const wishes = [...document.querySelectorAll("[data-live]")].map((part) => Number(part.dataset.live) || EVERY_MS);
  return Math.min(...wishes, EVERY_MS);
}

if (document.querySelector("[data-live]")) setTimeout(stayLive, everyMs());

// Keys. None of them does anything but go somewhere.
let pressedG = 0;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (pressedG && Date.now() - pressedG < KEY_MS) {
    pressedG = 0;
    return go(event, `nav a[data-key="${CSS.escape(event.key)}"]`);
  }
  switch (event.key) {
    case "g":
      pressedG = Date.now();
      break;
    case "/":
      event.preventDefault();
      document.getElementById("search")?.focus();
      break;
    case "n":
      go(event, 'a[rel="next"]');
      break;
    case "p":
      go(event, 'a[rel="prev"]');
      break;
    case "j":
    case "k":
      step(event.key === "j" ? 1 : -1);
      break;
  }
});

function go(event, selector) {
  const link = document.querySelector(selector);
  if (!link) return;
  event.preventDefault();
  link.click();
}

// From row to row: the focus is on the row's first link, so Enter opens it.
function step(by) {
  const links = [...document.querySelectorAll("tbody tr")].map((row) => row.querySelector("a[href]")).filter(Boolean);
  if (!links.length) return;
  const place = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  links[place < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, place + by))].focus();
}
