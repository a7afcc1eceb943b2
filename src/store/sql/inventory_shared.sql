-- store::writes: shared side of the inventory lock
-- Imports, moves and resets of SIMs take it exclusively, so that none of them happens between the moment at which a batch
-- reads owners and cycles and the moment at which it commits. Its own statement: the next one's snapshot must be younger.
SELECT pg_advisory_xact_lock_shared(hashtext('simbridge.inventory'))
