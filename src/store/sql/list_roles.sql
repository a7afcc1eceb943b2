-- store::roles: roles of this database with their logins, and the tenants of those who read
SELECT d.kind, d.role_name::text AS role_name, login.rolname::text AS login,
       EXISTS (SELECT FROM all_tenant_readers a WHERE a.role_name = login.rolname) AS all_tenants,
       ARRAY(SELECT t.name FROM reader_tenants r JOIN tenants t ON t.id = r.tenant_id
             WHERE r.role_name = login.rolname ORDER BY t.name) AS tenants
FROM database_roles d
LEFT JOIN pg_roles granted ON granted.rolname = d.role_name
LEFT JOIN pg_auth_members m ON m.roleid = granted.oid AND m.member IN (SELECT oid FROM pg_roles WHERE rolcanlogin)
LEFT JOIN pg_roles login ON login.oid = m.member
ORDER BY d.kind, login.rolname
