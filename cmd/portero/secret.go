package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/spf13/cobra"
)

func secretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "Print a fresh session secret",
		Long:  "Print 32 random bytes as session.secret takes them.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret := make([]byte, 32)
			rand.Read(secret) // never fails
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "base64:"+base64.StdEncoding.EncodeToString(secret))
			return err
		},
	}
}
