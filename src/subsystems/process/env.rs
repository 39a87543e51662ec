//! `process.env`, and the one variable that programs cannot do without.

/// The last of one name wins, at the place of the first.
pub fn without_duplicates(env: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    let mut places: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for variable in env {
        let name = name(variable);
        match places.get(name) {
            Some(place) => kept[*place].clone_from(variable),
            None => {
                places.insert(name, kept.len());
                kept.push(variable.clone());
            }
        }
    }
    kept
}

fn name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// The value of a variable.
pub fn get<'a>(env: &'a [String], wanted: &str) -> Option<&'a str> {
    env.iter().find_map(|variable| variable.strip_prefix(wanted)?.strip_prefix('='))
}

/// Adds HOME when it is missing or empty: from the container's passwd(5), else `/`.
pub fn add_home(env: &mut Vec<String>, passwd: &str, uid: u32) {
    if get(env, "HOME").is_some_and(|home| !home.is_empty()) {
        return;
    }
    env.retain(|variable| name(variable) != "HOME");
    env.push(format!("HOME={}", home_of(passwd, uid).unwrap_or("/")));
}

/// `name:password:UID:GID:comment:directory:shell`
fn home_of(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let is_user = fields.next()?.parse() == Ok(uid);
        is_user.then(|| fields.nth(2)).flatten().filter(|home| !home.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_last_of_one_name_wins() {
        assert_eq!(without_duplicates(&strings(&["A=1", "B=2", "A=3", "AB=4"])), strings(&["A=3", "B=2", "AB=4"]));
    }

    #[test]
    fn home() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n10:x:5:5::/ten:\nuser:x:10:10::/home/user:/bin/sh\n";
        for (before, uid, after) in [
            (vec![], 0, vec!["HOME=/root"]),
            (vec!["HOME="], 10, vec!["HOME=/home/user"]),
            (vec!["HOME=/x"], 0, vec!["HOME=/x"]),
            (vec!["HOMES=/x"], 99, vec!["HOMES=/x", "HOME=/"]),
        ] {
            let mut env = strings(&before);
            add_home(&mut env, passwd, uid);
            assert_eq!(env, strings(&after));
        }
    }
}
