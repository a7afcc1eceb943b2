-- store::roles: gives the roles what the newest schema has for them
SELECT grant_roles()
