-- store::sims: gives records that came before their SIM was provisioned their owner and cycle
SELECT attach_records(/* iccids */ $1, /* now */ $2)
