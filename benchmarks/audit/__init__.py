"""What the audit log's readers wait for, measured."""
