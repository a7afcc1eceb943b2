-- store::rollups: adds the records of the oldest markers to every rollup
SELECT markers, records, days FROM roll_up_chunk(/* at most, in records */ $1)
