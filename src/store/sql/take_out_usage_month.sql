-- store::archive: takes the oldest month below a moment out of usage_records; under the exclusive inventory lock
SELECT taken, waiting FROM take_out_usage_month(/* now */ $1, /* before */ $2)
