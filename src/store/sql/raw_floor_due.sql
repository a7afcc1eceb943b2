-- store::archive: where the floor of raw records has to be for so many days of them
SELECT raw_floor_due(/* now */ $1, /* raw days */ $2) AS due
