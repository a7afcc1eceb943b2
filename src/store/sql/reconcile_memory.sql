-- store::reconcile: room for sums and joins over every record, which else go through files many times over
SET LOCAL work_mem = '64MB'
