package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// sessionsPage is how many sessions one call asks for; the admin API gives no more.
const sessionsPage = 500

func sessionsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sessions",
		Short: "List and end the sessions of people who are signed in",
		Long: `List and end the sessions of people who are signed in, over the admin listener of the gateway that runs with this
configuration on this machine. It is the same for every store.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usage(errors.New("say list or revoke")) },
	}
	c.AddCommand(withSettings(listSessionsCommand()), withSettings(revokeSessionsCommand()))
	return c
}

func listSessionsCommand() *cobra.Command {
	filters := map[string]*string{}
	var limit int
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List live sessions",
		Long: `List live sessions. Filters must all match, each as a whole. The sessions that were used last come first, among
those that the gateway gives at once (500).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 || cmd.Flags().Changed("limit") && limit == 0 {
				return usage(errors.New("--limit is a number above zero"))
			}
			query, err := filterQuery(cmd, filters)
			if err != nil {
				return err
			}
			admin, err := adminFor(cmd)
			if err != nil {
				return err
			}
			out := sessionsOutput(&sessionTable{to: cmd.OutOrStdout()})
			if asJSON {
				out = &sessionJSON{to: cmd.OutOrStdout()}
			}
			more, err := admin.listSessions(cmd.Context(), query, limit, out.page)
			if err := errors.Join(err, out.end()); err != nil {
				return err
			}
			if more {
				fmt.Fprintln(cmd.ErrOrStderr(), "There may be more; leave --limit out to see them all.")
			}
			return nil
		},
	}
	for _, f := range []struct{ name, what string }{
		{"subject", "of the person with this identifier at Logto"}, {"email", "of the person with this address"},
		{"sid", "of this browser session at Logto"}, {"host", "on this host"}, {"id", "with this id"},
	} {
		filters[f.name] = c.Flags().String(f.name, "", "only sessions "+f.what)
	}
	c.Flags().IntVar(&limit, "limit", 0, "at most so many (default all)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// filterQuery is the query of those filters that were given.
func filterQuery(cmd *cobra.Command, filters map[string]*string) (url.Values, error) {
	query := url.Values{}
	for name, value := range filters {
		if !cmd.Flags().Changed(name) {
			continue
		}
		if *value == "" {
			return nil, usage(fmt.Errorf("--%s is empty; leave it out", name))
		}
		query.Set(name, *value)
	}
	return query, nil
}

func adminFor(cmd *cobra.Command) (*adminClient, error) {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return nil, err
	}
	return newAdminClient(cfg)
}

// listSessions hands each page to show until limit sessions were shown (0: all). more: there may be others.
func (c *adminClient) listSessions(ctx context.Context, query url.Values, limit int, show func([]json.RawMessage) error) (more bool, err error) {
	shown := 0
	for {
		size := sessionsPage
		if limit > 0 {
			size = min(size, limit-shown)
		}
		query.Set("limit", strconv.Itoa(size))
		var answer struct {
			Sessions []json.RawMessage
			Next     string
		}
		if err := c.call(ctx, http.MethodGet, "/api/sessions", query, nil, &answer); err != nil {
			return false, err
		}
		if err := show(answer.Sessions); err != nil {
			return false, err
		}
		shown += len(answer.Sessions)
		if answer.Next == "" || limit > 0 && shown >= limit {
			return answer.Next != "", nil
		}
		query.Set("cursor", answer.Next)
	}
}

// sessionsOutput shows sessions page by page.
type sessionsOutput interface {
	page([]json.RawMessage) error
	end() error
}

// sessionTable has its widths from the first page.
type sessionTable struct {
	to     io.Writer
	widths []int
}

func (t *sessionTable) page(list []json.RawMessage) error {
	rows := [][]string{{"ID", "EMAIL", "HOST", "DEVICE", "SIGNED IN", "LAST USED"}}
	for _, raw := range list {
		var s struct {
			ID, Email, Host, Device string
			CreatedAt               string `json:"created_at"`
			LastUsedAt              string `json:"last_used_at"`
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			return errors.New("the gateway listed something that is no session")
		}
		rows = append(rows, []string{s.ID, s.Email, s.Host, s.Device, minute(s.CreatedAt), minute(s.LastUsedAt)})
	}
	if t.widths == nil {
		t.widths = make([]int, len(rows[0]))
		for _, row := range rows {
			for i, cell := range row {
				t.widths[i] = max(t.widths[i], utf8.RuneCountInString(plain(cell)))
			}
		}
	} else {
		rows = rows[1:]
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			fmt.Fprintf(&line, "%-*s  ", t.widths[i], plain(cell))
		}
		if _, err := fmt.Fprintln(t.to, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func (t *sessionTable) end() error { return nil }

// minute is a time of the admin API without what nobody reads in a table.
func minute(text string) string {
	if len(text) > len("2026-11-22T07:40") {
		return text[:len("2026-11-22T07:40")] + "Z"
	}
	return text
}

// sessionJSON prints one object, however many pages there are.
type sessionJSON struct {
	to    io.Writer
	begun bool
}

func (j *sessionJSON) page(list []json.RawMessage) error {
	for _, raw := range list {
		before := ",\n"
		if !j.begun {
			before = "{\"sessions\": [\n"
		}
		j.begun = true
		if _, err := fmt.Fprintf(j.to, "%s  %s", before, compacted(raw)); err != nil {
			return err
		}
	}
	return nil
}

func (j *sessionJSON) end() error {
	text := "\n]}\n"
	if !j.begun {
		text = "{\"sessions\": []}\n"
	}
	_, err := io.WriteString(j.to, text)
	return err
}

func compacted(raw json.RawMessage) string {
	text, err := json.Marshal(raw)
	if err != nil {
		return string(raw)
	}
	return string(text)
}

func revokeSessionsCommand() *cobra.Command {
	var ids []string
	filters := map[string]*string{}
	var all, yes, asJSON bool
	c := &cobra.Command{
		Use:   "revoke",
		Short: "End sessions at once, on every host and replica",
		Long: `End sessions at once, on every host and replica: their next request, and what is open, ends. Whoever signs in again
needs a new code, although Logto may still know the browser.`,
		Example: `  portero sessions revoke --email ana@example.com
  portero sessions revoke --id Zk3f-Q9xM2bC --id 9sR_t0aK4LmN --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := filterQuery(cmd, filters)
			if err != nil {
				return err
			}
			said := len(query)
			for _, one := range []bool{len(ids) > 0, all} {
				if one {
					said++
				}
			}
			if said != 1 {
				return usage(errors.New("say which sessions by exactly one of --id, --subject, --email, --sid and --all"))
			}
			in, terminal := cmd.InOrStdin().(*os.File)
			if !yes && !(terminal && isTerminal(in)) {
				return usage(errors.New("nobody can be asked here: add --yes to end the sessions"))
			}
			admin, err := adminFor(cmd)
			if err != nil {
				return err
			}
			if !yes {
				question, err := admin.question(cmd.Context(), query, ids, all)
				if err != nil {
					return err
				}
				if !confirmed(in, cmd.ErrOrStderr(), question) {
					return errors.New("nothing has been ended")
				}
			}
			return admin.revokeAll(cmd, query, ids, asJSON)
		},
	}
	c.Flags().StringArrayVar(&ids, "id", nil, "the session with this id; may be repeated")
	for _, f := range []struct{ name, what string }{
		{"subject", "of the person with this identifier at Logto"}, {"email", "of the person with this address"}, {"sid", "of this browser session at Logto"},
	} {
		filters[f.name] = c.Flags().String(f.name, "", "all sessions "+f.what)
	}
	c.Flags().BoolVar(&all, "all", false, "all sessions of everybody")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// question says what is about to end, and how much that is.
func (c *adminClient) question(ctx context.Context, query url.Values, ids []string, all bool) (string, error) {
	if len(ids) > 0 {
		return fmt.Sprintf("End %s?", sessionCount(len(ids))), nil
	}
	count := 0
	more, err := c.listSessions(ctx, cloned(query), sessionsPage, func(list []json.RawMessage) error { count += len(list); return nil })
	if err != nil {
		return "", err
	}
	number := sessionCount(count)
	if more {
		number = "more than " + number
	}
	if all {
		return fmt.Sprintf("End all sessions of everybody (%s)?", number), nil
	}
	for name := range query {
		number = fmt.Sprintf("End all sessions of the %s %s (%s)?", name, plain(query.Get(name)), number)
	}
	return number, nil
}

func cloned(query url.Values) url.Values {
	out := url.Values{}
	for name, list := range query {
		out[name] = list
	}
	return out
}

func sessionCount(n int) string {
	if n == 1 {
		return "1 session"
	}
	return strconv.Itoa(n) + " sessions"
}

// confirmed asks until the end of a line. Only a yes is one.
func confirmed(in io.Reader, out io.Writer, question string) bool {
	fmt.Fprint(out, question+" [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		fmt.Fprintln(out)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

// revokeAll ends what was asked for. An id that nobody has does not keep the others.
func (c *adminClient) revokeAll(cmd *cobra.Command, query url.Values, ids []string, asJSON bool) error {
	var bodies []map[string]any
	for _, id := range ids {
		bodies = append(bodies, map[string]any{"id": id})
	}
	if len(ids) == 0 {
		body := map[string]any{}
		for name := range query {
			body[name] = query.Get(name)
		}
		if len(body) == 0 {
			body["all"] = true
		}
		bodies = append(bodies, body)
	}
	total := 0
	var missing []string
	for _, body := range bodies {
		n, err := c.revoke(cmd.Context(), body)
		if total += n; err != nil {
			if total > 0 {
				err = fmt.Errorf("%s ended, then: %w", sessionCount(total), err)
			}
			return err
		}
		if id, byID := body["id"].(string); byID && n == 0 {
			missing = append(missing, plain(id))
		}
	}
	var err error
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]int{"revoked": total})
	} else {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), sessionCount(total)+" ended")
	}
	if err == nil && len(missing) > 0 {
		err = &hinted{fmt.Errorf("no live session has the id %s", strings.Join(missing, ", ")), "portero sessions list"}
	}
	return err
}

// revoke repeats a call until the gateway has looked at everything.
func (c *adminClient) revoke(ctx context.Context, body map[string]any) (total int, err error) {
	for {
		var answer struct {
			Revoked int
			Next    string
		}
		if err := c.call(ctx, http.MethodPost, "/api/sessions/revoke", nil, body, &answer); err != nil {
			return total, err
		}
		total += answer.Revoked
		if answer.Next == "" || answer.Next == body["cursor"] {
			return total, nil
		}
		body["cursor"] = answer.Next
	}
}
