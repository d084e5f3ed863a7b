-- How the tables are stored and vacuumed; why, and what was measured: docs/adr/0010-table-settings.md.

-- Only ever appended to. Vacuumed soon after the rows came, and frozen then, each page is written once more while the
-- last checkpoint's copy of it is still good; later it would go to the write-ahead log whole, once or twice.
ALTER TABLE stored_events SET (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000, autovacuum_freeze_min_age = 0
);
ALTER TABLE attempt SET (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000, autovacuum_freeze_min_age = 0
);

-- A queue among the cursors of all orders there ever were. What is vacuumed must follow what is delivered and not what
-- is stored; and the index on what is due must be cleaned every time, or each claim walks over what was due once.
-- Each of its updates changes an indexed column, so none is in place (HOT), and room kept free for that is wasted.
ALTER TABLE delivery SET (
    fillfactor = 90, vacuum_index_cleanup = on,
    autovacuum_vacuum_scale_factor = 0.005, autovacuum_vacuum_threshold = 10000
);

-- Each row changes once, soon after it came, and hardly ever again.
ALTER TABLE effect SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000, autovacuum_freeze_min_age = 0
);
