-- store::roles: makes a login with one of the roles, and says what came of it
SELECT create_login(/* name */ $1::text::name, /* SCRAM verifier */ $2, /* kind */ $3, /* tenants */ $4)
