package config

func (d *decoder) finish(c *Config) {}

func canonicalName(host string) (string, string) { return host, "" }
