module github.com/memwhy/memwhy/e2e

go 1.26
