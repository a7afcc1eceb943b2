-- store::roles: removes a login that has one of the roles
SELECT drop_login(/* name */ $1::text::name)
