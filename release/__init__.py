"""A release: wheel and source archive, bill of materials, checksums, wheelhouses. Imports only edge."""
