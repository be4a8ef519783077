"""WeChat Pay's side: the v3 API, its signatures, certificates and notices."""
