-- store::roles: makes the roles of this database and gives them what they need
SELECT create_roles(/* prefix */ $1)
