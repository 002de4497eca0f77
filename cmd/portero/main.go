// Command portero is the gateway: it signs people in before it lets them through to an application.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes. They are a contract with scripts.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // bad usage or configuration
	exitWork   = 3 // nothing is wrong, and there is work to do
)

func main() {
	// The first signal ends the context and a command leaves in its own time; the second is the system's, at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program; the result is its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code, hint := classify(cmd, err)
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, text)
	}
	if hint != "" {
		fmt.Fprintln(stderr, "hint: "+hint)
	}
	return code
}
