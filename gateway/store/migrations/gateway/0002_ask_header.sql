-- The request that an ask sent, without its batches: with the sealed content, an
-- auditor makes the same bytes again.
ALTER TABLE asks ADD COLUMN header BLOB;
