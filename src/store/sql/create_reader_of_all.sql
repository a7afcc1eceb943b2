-- store::roles: makes a login that reads the rows of all tenants, and says what came of it
SELECT create_reader_of_all(/* name */ $1::text::name, /* SCRAM verifier */ $2)
