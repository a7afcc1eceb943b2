-- The form of a cycle's id is checked whenever its totals change, although its id never does: a regular expression took 0.8 of some 13 µs of
-- such a change (docs/BENCHMARKS.md, "What was learnt"). LIKE says the same of ids as they are made, in 0.1 µs.
ALTER TABLE usage_cycles
    DROP CONSTRAINT usage_cycles_id_form,
    ADD CONSTRAINT usage_cycles_id_form CHECK (cycle_id LIKE '____-__' AND cycle_id BETWEEN '0000-00' AND '9999-99');
