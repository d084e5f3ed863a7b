-- Sessions of the console that somebody has ended by signing out, until their cookies would have run out: a cookie is
-- authenticated and known to no table, so what ended is. Rows that are over are cleared away at the next sign-out.
CREATE TABLE ended_session (
    session text        PRIMARY KEY CHECK (length(session) BETWEEN 1 AND 64),
    ends_at timestamptz NOT NULL
);
