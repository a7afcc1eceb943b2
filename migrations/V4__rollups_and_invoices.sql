-- What charts and invoices read. Filled from usage_records by the rollup worker.

CREATE TABLE daily_usage (
    tenant_id        integer NOT NULL,
    usage_date       date NOT NULL,
    carrier_id       integer NOT NULL,
    data_bytes       numeric(30, 0) NOT NULL DEFAULT 0,
    cost             numeric(30, 10) NOT NULL DEFAULT 0,
    active_sim_count integer NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT daily_usage_pk PRIMARY KEY (tenant_id, usage_date, carrier_id)
);
COMMENT ON TABLE daily_usage IS 'Usage of a day in the tenant''s time zone, by carrier';
COMMENT ON COLUMN daily_usage.carrier_id IS '0 for records whose SIM has no carrier or is not provisioned';

CREATE TABLE usage_aggregations (
    tenant_id        integer NOT NULL,
    period_start     date NOT NULL,
    period_end       date NOT NULL,
    carrier_id       integer NOT NULL,
    total_data_bytes numeric(30, 0) NOT NULL DEFAULT 0,
    total_cost       numeric(30, 10) NOT NULL DEFAULT 0,
    active_sim_count integer NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_aggregations_pk PRIMARY KEY (tenant_id, period_start, carrier_id),
    CONSTRAINT usage_aggregations_period CHECK (period_end >= period_start)
);
COMMENT ON TABLE usage_aggregations IS 'Usage of a calendar month in the tenant''s time zone, by carrier';

CREATE TABLE invoices (
    id             bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT invoices_pk PRIMARY KEY,
    tenant_id      integer NOT NULL CONSTRAINT invoices_tenant_fk REFERENCES tenants (id),
    invoice_number text NOT NULL,
    carrier_id     integer NOT NULL,
    period_start   date NOT NULL,
    period_end     date NOT NULL,
    total_amount   numeric(20, 2) NOT NULL,
    currency       text NOT NULL CONSTRAINT invoices_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    status         text NOT NULL DEFAULT 'pending'
                   CONSTRAINT invoices_status CHECK (status IN ('pending', 'paid', 'overdue', 'disputed')),
    due_date       date NOT NULL,
    paid_date      date,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT invoices_number_unique UNIQUE (tenant_id, invoice_number),
    CONSTRAINT invoices_month_unique UNIQUE (tenant_id, carrier_id, period_start)
);
COMMENT ON TABLE invoices IS 'One invoice for each carrier and closed month';
