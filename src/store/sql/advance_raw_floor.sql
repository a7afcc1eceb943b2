-- store::retention: raises the floor of raw records and drops what lies below it; under the exclusive inventory lock
SELECT kept_from, dropped, waiting FROM advance_raw_floor(/* now */ $1, /* raw days */ $2)
