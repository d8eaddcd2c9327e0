-- What the store knows of its objects. The bytes stand in files (or a bucket); a row without its
-- object and an object without its row are both put right at the next start.
CREATE TABLE objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: members name it
    digest BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    tree INTEGER NOT NULL,          -- 1: its bytes name other objects, see members
    keep_until_ms INTEGER NOT NULL, -- nothing is removed before; claims end earlier
    stored_ms INTEGER NOT NULL
);
CREATE INDEX objects_due ON objects (keep_until_ms);

-- Who has put the bytes of an object, and so may refer to it.
CREATE TABLE owners (
    object INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (object, name)
) WITHOUT ROWID;

-- A member lives as long as a tree that names it.
CREATE TABLE members (
    tree INTEGER NOT NULL,
    member INTEGER NOT NULL,
    PRIMARY KEY (tree, member)
) WITHOUT ROWID;
CREATE INDEX members_of ON members (member);
