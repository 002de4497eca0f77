package upstream

// What fuzz targets need to see without a network.

var KeepCookies = keepCookies

type Frames struct{ frames }

func (f *Frames) Pass(p []byte) { f.frames.pass(p) }
func (f *Frames) Between() bool { return f.frames.between() }
