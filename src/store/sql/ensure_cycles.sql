-- store::cycles: makes the cycles that hold these moments
SELECT ensure_cycles(/* iccid */ $1::text[], /* moment */ $2::timestamptz[], /* now */ $3)
