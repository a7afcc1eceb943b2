-- Room for totals to change in place. While a rollup is under way, nothing that changed since it began can be tidied up, so a page needs
-- room for each change of each of its rows in those seconds. With 30 of 100 free, one in four changes of a total of 100,000 SIMs at full
-- speed left its page and went into three indexes; with 60 free one in fifty does, and because nothing lies around the table is not larger.
-- Pages that are there already keep their shape until their rows move.
ALTER TABLE usage_cycles SET (fillfactor = 40);
ALTER TABLE sim_allowances SET (fillfactor = 40);
