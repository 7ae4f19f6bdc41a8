-- The proof that the holder's log has the decision of an answer.
ALTER TABLE asks ADD COLUMN proof BLOB;
