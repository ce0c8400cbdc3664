"""Studies as folders of plain files: export, import, anonymize."""
