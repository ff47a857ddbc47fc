"""Images by network: listener, query and retrieve, DICOMweb."""
