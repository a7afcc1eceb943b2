-- store::credentials: counts changes of users and keys
SELECT version FROM login_version
