package page

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// iconSVG is a door in the accent colour. It names nobody.
const iconSVG = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">` +
	`<rect width="32" height="32" rx="7" fill="%[1]s"/><path d="M10 27V6h12v21z" fill="%[2]s"/><circle cx="19" cy="17" r="1.5" fill="%[1]s"/></svg>`

// drawIcon makes the icon of the browser's tab. Without one a browser asks the application for /favicon.ico from our
// pages, which somebody who is signed out cannot have.
func drawIcon(accent, ink colour) *asset {
	data := fmt.Appendf(nil, iconSVG, accent, ink)
	sum := sha256.Sum256(data)
	return &asset{
		file: "icon-" + hex.EncodeToString(sum[:8]) + ".svg", kind: "image/svg+xml", data: data,
		etag: `"` + hex.EncodeToString(sum[:8]) + `"`, policy: "default-src 'none'; frame-ancestors 'none'; sandbox",
	}
}
