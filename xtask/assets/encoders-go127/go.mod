module krs-encoders-go127

go 1.27.0
