-- store::backup: what the roles of this database begin with; no row without roles
SELECT left(role_name::text, -length('_serve')) AS prefix FROM database_roles WHERE kind = 'serve'
