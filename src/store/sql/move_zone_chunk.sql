-- store::rollups: moves the days of some SIMs of a tenant whose time zone changed
SELECT tenant, sims, finished FROM move_zone_chunk(/* at most, in SIMs */ $1)
