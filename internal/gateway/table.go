package gateway

import (
	"portero/internal/config"
	"portero/internal/route"
)

// Table makes the routes of a configuration, as a generation has them, for those who ask what would be decided without a
// gateway that runs.
func Table(cfg *config.Config) (*route.Table, error) { return buildTable(cfg) }
