-- store::tenants: makes a tenant unless one of that name exists
INSERT INTO tenants (name) VALUES ($1) ON CONFLICT ON CONSTRAINT tenants_name_unique DO NOTHING
