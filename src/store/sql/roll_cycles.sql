-- store::cycles: archives cycles that have ended, a bounded number at a time
SELECT roll_cycles(/* now */ $1, /* at most */ $2)
