package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"image/png"
	"io"
	"math"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	maxLogo    = 32 << 10
	logoHeight = 32 // CSS pixels, which is 2rem
)

// asset is a file that a page shows.
type asset struct {
	file   string // its name under PREFIX/assets/, with a hash of the content
	kind   string // media type
	data   []byte
	width  int // CSS pixels at logoHeight
	etag   string
	policy string
}

// readLogo reads a logo. nil: there is none, or it is a problem.
func readLogo(key, file string, problem func(string, string, ...any)) *asset {
	if file == "" {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		problem(key, "opening the logo: %v", err)
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLogo+1))
	switch {
	case err != nil:
		problem(key, "reading the logo: %v", err)
		return nil
	case len(data) > maxLogo:
		problem(key, "%s is larger than 32 KiB; write a smaller picture", file)
		return nil
	}
	a := &asset{data: data}
	ext := ""
	var width, height float64
	if bytes.HasPrefix(data, []byte("\x89PNG")) {
		c, err := png.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			problem(key, "%s is no PNG that can be read: %v", file, err)
			return nil
		}
		a.kind, ext, width, height = "image/png", ".png", float64(c.Width), float64(c.Height)
		a.policy = "default-src 'none'; frame-ancestors 'none'; sandbox"
	} else {
		if width, height, err = svgSize(data); err != nil {
			problem(key, "%s is neither PNG nor SVG that can be shown: %v", file, err)
			return nil
		}
		a.kind, ext = "image/svg+xml", ".svg"
		// An SVG may style itself. Opened by its address it is a document: no script, no
		// loading, no origin.
		a.policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
	}
	if !(width > 0 && height > 0) || width/height > 100 || height/width > 100 {
		problem(key, "%s measures %g by %g; write a picture with sides of at most 100 to 1", file, width, height)
		return nil
	}
	a.width = max(1, int(math.Round(width/height*logoHeight)))
	sum := sha256.Sum256(data)
	a.file = "logo-" + hex.EncodeToString(sum[:8]) + ext
	a.etag = `"` + hex.EncodeToString(sum[:8]) + `"`
	return a
}

// svgSize takes the proportions from width and height of the root element, else from its viewBox.
func svgSize(data []byte) (width, height float64, err error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	for {
		token, err := d.Token()
		if err != nil {
			return 0, 0, fmt.Errorf("reading its first element: %w", err)
		}
		root, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if root.Name.Local != "svg" {
			return 0, 0, fmt.Errorf("its first element is %q, not svg", cut(root.Name.Local))
		}
		at := map[string]string{}
		for _, a := range root.Attr {
			at[a.Name.Local] = a.Value
		}
		width, okW := pixels(at["width"])
		height, okH := pixels(at["height"])
		if okW && okH {
			return width, height, nil
		}
		box := strings.FieldsFunc(at["viewBox"], func(r rune) bool { return r == ' ' || r == ',' })
		if len(box) == 4 {
			width, errW := strconv.ParseFloat(box[2], 64)
			height, errH := strconv.ParseFloat(box[3], 64)
			if errW == nil && errH == nil {
				return width, height, nil
			}
		}
		return 0, 0, errors.New("it has neither width and height nor viewBox")
	}
}

func pixels(s string) (float64, bool) {
	f, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "px"), 64)
	return f, err == nil && f > 0
}

// logoView is what the template reads of a logo.
type logoView struct {
	URL           string
	Width, Height int
}

// pictures are what pages show beside words.
type pictures struct {
	icon template.HTML // the element of the icon
	logo template.HTML // the element of the logo, "" without one
}

// draw makes them; folder is where assets stand.
func (s *Set) draw(folder string) (pictures, error) {
	var out pictures
	var b strings.Builder
	if err := s.template.ExecuteTemplate(&b, "icon", folder+"/assets/"+s.icon.file); err != nil {
		return out, err
	}
	out.icon = template.HTML(b.String())
	if s.logo == nil {
		return out, nil
	}
	b.Reset()
	view := func(a *asset) *logoView {
		if a == nil {
			return nil
		}
		return &logoView{URL: folder + "/assets/" + a.file, Width: a.width, Height: logoHeight}
	}
	err := s.template.ExecuteTemplate(&b, "logo", map[string]any{"Light": view(s.logo), "Dark": view(s.logoDark), "Name": s.cfg.Name})
	out.logo = template.HTML(b.String())
	return out, err
}

// ServeAsset answers GET PREFIX/assets/NAME: logo and icon, for ever, since their names
// have the hash of their content. Every other name is the page not-found.
func (s *Set) ServeAsset(w http.ResponseWriter, r *http.Request) {
	var found *asset
	for _, a := range []*asset{s.logo, s.logoDark, s.icon} {
		if a != nil && r.URL.Path == path.Join(s.cfg.Prefix, "assets", a.file) {
			found = a
		}
	}
	if found == nil {
		s.Render(w, r, Page{ID: NotFound})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.Render(w, r, Page{ID: BadRequest, Status: http.StatusMethodNotAllowed})
		return
	}
	h := w.Header()
	h.Set("Content-Type", found.kind)
	h.Set("Content-Security-Policy", found.policy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", found.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(found.data))
}
