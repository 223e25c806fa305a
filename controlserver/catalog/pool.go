package catalog

// A pool holds the workloads of a namespace so that a selector finds its own
// without looking at all of them.
type pool[T any] struct {
	all     []T
	byLabel map[label][]int
	labels  []map[string]string
}

type label struct{ key, value string }

func (p *pool[T]) add(t T, labels map[string]string) {
	if p.byLabel == nil {
		p.byLabel = map[label][]int{}
	}
	for k, v := range labels {
		p.byLabel[label{k, v}] = append(p.byLabel[label{k, v}], len(p.all))
	}
	p.all = append(p.all, t)
	p.labels = append(p.labels, labels)
}

// selected returns those that carry all labels of a selector, in their order.
func (p *pool[T]) selected(selector map[string]string) []T {
	if p == nil || len(selector) == 0 {
		return p.members()
	}
	var fewest []int
	first := true
	for k, v := range selector {
		if with := p.byLabel[label{k, v}]; first || len(with) < len(fewest) {
			fewest, first = with, false
		}
	}
	var out []T
	for _, i := range fewest {
		if selects(selector, p.labels[i]) {
			out = append(out, p.all[i])
		}
	}
	return out
}

func (p *pool[T]) members() []T {
	if p == nil {
		return nil
	}
	return p.all
}
