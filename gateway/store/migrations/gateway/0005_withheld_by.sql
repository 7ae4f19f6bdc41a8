-- Records left out of a publication by each rule, as a JSON object of counts by rule id.
ALTER TABLE published ADD COLUMN withheld_by TEXT NOT NULL DEFAULT '{}';
