"""WeChat Pay API v3: JSON with signed headers both ways, notices sealed with AES-256-GCM. Source: WeChat Pay
documents."""
