-- store::invoices: makes the invoices of closed months, lets pending ones follow their month, marks overdue ones
SELECT make_invoices(/* now */ $1, /* after days */ $2, /* due days */ $3) AS changed
