-- store::consumption: names of the carriers that have one of these home networks
SELECT c.mccmnc, min(c.name) AS name FROM carriers c WHERE c.mccmnc = ANY (/* networks */ $1) GROUP BY c.mccmnc
