module krs-encoders-k2

go 1.25.0

require (
	github.com/klauspost/compress v1.18.5
	github.com/klauspost/pgzip v1.2.6
)
