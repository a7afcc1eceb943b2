-- store::embedded: makes the program's database
-- template0, because it is the one template that nobody can have changed.
CREATE DATABASE simbridge TEMPLATE template0
