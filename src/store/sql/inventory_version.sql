-- store::directory: the version of the inventory, read under the inventory lock
SELECT version FROM inventory_version
