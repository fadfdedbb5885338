"""A release: wheel, source archive, wheelhouses, Debian package, bill of materials, checksums. Imports only edge."""
