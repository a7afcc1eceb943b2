-- Sources that meter accounts and not SIMs (VPN users, hotspot users, subscribers of RADIUS): which SIM an account stands for.
CREATE TABLE usage_accounts (
    tenant_id  integer NOT NULL CONSTRAINT usage_accounts_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    account    text COLLATE "C" NOT NULL CONSTRAINT usage_accounts_account_length CHECK (length(account) BETWEEN 1 AND 253),
    source     text COLLATE "C" NOT NULL DEFAULT '' CONSTRAINT usage_accounts_source_length CHECK (length(source) <= 40),
    iccid      text COLLATE "C" NOT NULL CONSTRAINT usage_accounts_iccid_form CHECK (iccid ~ '^[0-9]{10,20}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_accounts_pk PRIMARY KEY (tenant_id, account, source)
);
COMMENT ON TABLE usage_accounts IS 'SIMs for which accounts of sources stand, where the account is not a number of the SIM itself';
COMMENT ON COLUMN usage_accounts.account IS 'Common name, user name, subscriber: as the source writes it';
COMMENT ON COLUMN usage_accounts.source IS 'Name of the source in the configuration; empty for every source of the tenant';
COMMENT ON COLUMN usage_accounts.iccid IS 'Need not be provisioned yet, like that of any record';

-- Accounts that are numbers of a SIM are looked up by them.
CREATE INDEX provisioned_sims_imsi ON provisioned_sims (tenant_id, imsi);
CREATE INDEX provisioned_sims_msisdn ON provisioned_sims (tenant_id, ltrim(msisdn, '+'));

INSERT INTO database_grants (kind, privileges, names) VALUES ('serve', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['usage_accounts']);
