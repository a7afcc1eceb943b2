-- store::roles: gives a login that has one of the roles another password
SELECT set_login_password(/* name */ $1::text::name, /* SCRAM verifier */ $2)
